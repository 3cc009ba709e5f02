"""Which chain each request gets, decided in memory."""
