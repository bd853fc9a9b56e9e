"""The signals that end the program, each with the word that it says then."""

from __future__ import annotations

from signal import SIGHUP, SIGINT, SIGTERM
from typing import Final

ENDING: Final = {SIGINT: "interrupted", SIGTERM: "terminated", SIGHUP: "hung up"}
