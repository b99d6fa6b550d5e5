"""Installs the JavaScript clients that tests run against Parley: `python -m tools.clients`. Quick when they are there."""

from tools.environment import ROOT
from tools.node import install

CLIENTS = ROOT / "tests" / "clients" / "js"

if __name__ == "__main__":
    install(CLIENTS, what="the JavaScript clients, for tests")
