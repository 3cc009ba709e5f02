from .app import build as build
from .local.launch import Server as Server
from .local.launch import start as start
from .sources import Source as Source
from .sources import load_source as load_source
from .sources import prepared as prepared
from .wire import Reason as Reason
