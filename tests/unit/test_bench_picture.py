from __future__ import annotations

from xml.etree import ElementTree as ET

from benchmarks.growth import config_of
from benchmarks.picture import AWAY, LEFT, RIGHT, SERVED, WIDTH, Lane, draw
from runtime_configs.formats.documents import load
from runtime_configs.model import Format
from testbed.probe import Outage

SVG = "{http://www.w3.org/2000/svg}"
SHORT = Outage(refused_from=10.0, connected_at=10.1, answering_at=10.2)
LONG = Outage(refused_from=50.0, connected_at=55.0, answering_at=55.5)


def bars(picture: str, colour: str) -> list[ET.Element]:
    root = ET.fromstring(picture)  # noqa: S314 - drawn here
    found = [each for each in root.iter(f"{SVG}rect") if each.get("fill") == colour]
    return [each for each in found if each.get("height") == "22"]


def test_the_picture_is_an_svg_whose_bars_are_as_long_as_the_outages() -> None:
    picture = draw((Lane(label="ours", outage=SHORT), Lane(label="alone", outage=LONG)))
    whole = [float(bar.get("width", "")) for bar in bars(picture, SERVED)]
    away = [float(bar.get("width", "")) for bar in bars(picture, AWAY)]
    assert whole == [WIDTH - LEFT - RIGHT] * 2
    assert round(away[1] / away[0]) == 50


def test_the_picture_says_how_long_each_engine_was_away() -> None:
    picture = draw((Lane(label="ours", outage=SHORT),))
    assert "away 0.10 s, answering again after 0.20 s" in picture


def test_a_growing_config_has_as_many_tables_as_it_says() -> None:
    document = load(config_of(100), Format.TOML, path="/etc/containerd/config.toml")
    plugin = document["plugins"]["io.containerd.grpc.v1.cri"]  # type: ignore[index]
    assert len(plugin["registry"]["mirrors"]) == 100
