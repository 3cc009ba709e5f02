from .build import build_report as build_report
from .contents import Report as Report
from .contents import load as load
from .course import trajectory_of as trajectory_of
from .telling.publish import print_report as print_report
from .telling.publish import publish as publish
from .telling.publish import rebuild as rebuild
