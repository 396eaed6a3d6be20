"""What `lvs` printed on Debian's kernel 6.1 (lvm2 2.03.16), in the tests of `make lvm`."""

from __future__ import annotations

import json

import pytest

from slackwater.facts.lvm import LogicalVolume, parse

CLASSIC = """  {
      "report": [
          {
              "lv": [
                  {"vg_name":"swaeaf9f42", "lv_name":"data", "lv_attr":"owi-aos---", "pool_lv":"", "origin":"", "lv_tags":"", "data_percent":""},
                  {"vg_name":"swaeaf9f42", "lv_name":"slackwater-one", "lv_attr":"swi-aos---", "pool_lv":"", "origin":"data", "lv_tags":"slackwater=/tmp/sw-lvm-dt8fgt12/one", "data_percent":"4.84"}
              ]
          }
      ]
  }
"""  # noqa: E501
THIN = """  {
      "report": [
          {
              "lv": [
                  {"vg_name":"sw8638825b", "lv_name":"data", "lv_attr":"Vwi-aotz--", "pool_lv":"pool", "origin":"", "lv_tags":"", "data_percent":"25.00"},
                  {"vg_name":"sw8638825b", "lv_name":"pool", "lv_attr":"twi-aotz--", "pool_lv":"", "origin":"", "lv_tags":"", "data_percent":"16.96"},
                  {"vg_name":"sw8638825b", "lv_name":"slackwater-one", "lv_attr":"Vwi-aotz--", "pool_lv":"pool", "origin":"data", "lv_tags":"slackwater=/tmp/sw-lvm-m_m8ek6n/one", "data_percent":"24.98"}
              ]
          }
      ]
  }
"""  # noqa: E501


FULL = """  {
      "report": [
          {
              "lv": [
                  {"vg_name":"swd86c95a0", "lv_name":"slackwater-full", "lv_attr":"swi-Ios---", "pool_lv":"", "origin":"data", "lv_tags":"slackwater=/tmp/sw-lvm-bqc431v9/full", "data_percent":"100.00"}
              ]
          }
      ]
  }
"""  # noqa: E501


def test_one_that_overflowed() -> None:
    (snapshot,) = parse(json.loads(FULL))
    assert snapshot.overflowed
    assert snapshot.used == 100


def test_a_classic_one() -> None:
    data, snapshot = parse(json.loads(CLASSIC))
    assert (data.path, data.pool, data.origin, data.used) == ("swaeaf9f42/data", "", "", None)
    assert snapshot == LogicalVolume(
        "swaeaf9f42", "slackwater-one", "swi-aos---", "", "data",
        ("slackwater=/tmp/sw-lvm-dt8fgt12/one",), 4.84)
    assert snapshot.device == "/dev/swaeaf9f42/slackwater-one"
    assert not snapshot.overflowed


def test_thin_ones() -> None:
    data, pool, snapshot = parse(json.loads(THIN))
    assert (data.pool, pool.pool, snapshot.pool) == ("pool", "", "pool")
    assert (snapshot.origin, snapshot.used) == ("data", None)
    assert not any(v.overflowed for v in (data, pool, snapshot))


def test_none_and_nonsense() -> None:
    assert parse({"report": [{"lv": []}]}) == ()
    for told in ("", {}, {"report": []}, {"report": [{"lv": [{}]}]}):
        with pytest.raises(ValueError):
            parse(told)
