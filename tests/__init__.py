"""Tests of nommer, a package so that its modules find each other and processes that tests start
find them.
"""
