"""What a switchover's report tells of the sessions that it closed."""

from slackwater.cli.figures import figures_text
from slackwater.plan.report import Report
from slackwater.plan.step import Outcome


def told(**figures: object) -> str:
    report = Report("switchover", "", "switch over", Outcome.UNDONE, [], 0.0, 0.0)
    report.figures = dict(figures)
    return figures_text(report)


def test_who_was_closed_is_told_also_where_nobody_was_held():
    assert told(sessions_closed_early=12) == (
        "\n  12 session(s) that had rested for long were closed")
    assert told(sessions_closed_early=0) == ""


def test_who_was_closed_before_the_hold_is_told_beside_the_others():
    text = told(hold_ms=20.0, sessions_closed=3, sessions_closed_early=12)
    assert "3 idle session(s) closed meanwhile, and 12 before that had rested for long" in text


def test_a_balancer_whose_reload_did_not_end_is_named():
    assert "lb1, lb2: a reload seems to be under way" in told(
        hold_ms=9.0, being_reloaded=["lb1", "lb2"])
    assert "lb1: a reload seems to be under way" in told(fenced="", being_reloaded=["lb1"])
