"""What strangers are told before they write."""

import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chat_ui.limits import LIMITS, Door
from chat_ui.oauth import OAuth
from chat_ui.settings import Settings
from chat_ui.ui.privacy import box, policy_page
from chat_ui.ui.texts import ENGLISH


def keys(door: Door, kept_hours: int | None = None, **changes: Any) -> list[str]:
    limits = LIMITS[door]
    if kept_hours is not None:
        limits = replace(limits, kept_hours=kept_hours)
    html = box(Settings(**{"data_dir": Path("x"), "door": door, "limits": limits, **changes}))
    return re.findall(r'data-text="privacy\.(\w+)"', html)


def test_nobody_is_warned_at_home():
    assert keys("local") == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"door": "space"}, ["stored_space", "hours"]),
        ({"door": "space", "data_dir": Path("/data/chat_ui")}, ["stored_lasting", "hours"]),
        ({"door": "space", "kept_hours": 0}, ["stored_space"]),
        ({"door": "share"}, ["stored_share", "hours"]),
        ({"door": "share", "opens_tunnel": True}, ["stored_share", "relay", "hours"]),
        ({"door": "share", "kept_hours": 0}, ["stored_share", "for_ever"]),
    ],
)
def test_strangers_are_told_where_how_long_and_who_reads(changes, said):
    assert keys(**changes) == ["before", *said, "operator", "wrong", "name"]


def test_who_can_log_in_is_told_what_is_kept_of_it():
    settings = Settings(data_dir=Path("x"), door="space", limits=LIMITS["space"])
    oauth = OAuth("id", "secret", "https://provider", "anna", "")
    said = html.escape(ENGLISH("policy.login"))
    assert said not in policy_page(settings)("en")
    assert said in policy_page(replace(settings, oauth=oauth))("en")


def test_strangers_are_told_what_their_address_is_looked_at_for():
    said = html.escape(ENGLISH("policy.address"))
    for door, limits in LIMITS.items():
        page = policy_page(Settings(data_dir=Path("x"), door=door, limits=limits))("en")
        assert (said in page) == (door != "local")


def test_the_hours_are_those_of_the_limit():
    settings = Settings(data_dir=Path("x"), door="share", limits=LIMITS["share"])
    assert 'data-text="privacy.hours" data-count="24"' in box(settings)
    assert ENGLISH("privacy.hours", 24) == "A chat that nobody used for 24 hours is deleted."
