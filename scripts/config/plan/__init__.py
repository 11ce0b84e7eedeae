"""The plan: everything that a configuration asks for, each resolved whole and named once.

Rules look up here what a wildcard stands for: the inputs and parameters of every job are methods of
what it is about. A job's parameters hold what it reads and nothing else, so that it reruns when and
only when that has changed.
"""

from scripts.config.plan.report import Reports, reported_files, unfinished
from scripts.config.plan.resolve import make_plan
from scripts.config.plan.whole import Plan

__all__ = ["Plan", "Reports", "make_plan", "reported_files", "unfinished"]
