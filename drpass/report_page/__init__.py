"""A tuning run as one HTML page that needs no other file: verdict, table of layers, plots."""

from drpass.report_page.page import render, write

__all__ = ["render", "write"]
