"""Widths of the sensors of common cameras: their longer sides, for people who know their lens in millimetres.

Nominal figures: the makers' data sheets for the full width of the sensor (open gate). A mode that crops, as 4K at high
rates and stabilised video often do, uses less of it. For phones, whose makers publish none, the width follows from
the EXIF data of their photos: the focal length over its 35 mm equivalent, of a 4:3 picture.
"""

from __future__ import annotations

import difflib
import re

from ex4d_core.errors import InputError

SENSORS: dict[str, float] = {
    # formats
    "full frame": 36.0,
    "35 mm equivalent": 36.0,
    "Blender": 36.0,
    "APS-C": 23.5,
    "APS-C Canon": 22.3,
    "Micro 4/3": 17.3,
    "1 inch": 13.2,
    "2/3 inch": 8.8,
    "1/1.3 inch": 9.6,
    "1/1.7 inch": 7.6,
    "1/2.3 inch": 6.17,
    "medium format 44x33": 43.8,
    "Super 35": 24.89,
    "Academy 35": 21.95,
    "VistaVision": 37.72,
    "65 mm": 52.48,
    "IMAX": 70.41,
    "16 mm": 10.26,
    "Super 16": 12.52,
    "Super 8": 5.79,
    # cinema
    "ARRI Alexa 35": 27.99,
    "ARRI Alexa Mini": 28.25,
    "ARRI Alexa Mini 16:9": 23.76,
    "ARRI Alexa XT": 28.25,
    "ARRI Amira": 28.25,
    "ARRI Alexa LF": 36.70,
    "ARRI Alexa Mini LF": 36.70,
    "ARRI Alexa 65": 54.12,
    "RED Komodo 6K": 27.03,
    "RED Raptor 8K VV": 40.96,
    "RED Raptor 8K S35": 26.21,
    "RED Monstro 8K VV": 40.96,
    "RED Helium 8K S35": 29.90,
    "RED Gemini 5K S35": 30.72,
    "RED Dragon 6K": 30.7,
    "Sony Venice": 36.2,
    "Sony Venice 2": 35.9,
    "Sony Burano": 35.9,
    "Sony FX9": 35.7,
    "Sony FX6": 35.6,
    "Sony FX3": 35.6,
    "Sony FX30": 23.3,
    "Sony F55": 24.0,
    "Canon C70": 26.2,
    "Canon C300 Mark III": 26.2,
    "Canon C500 Mark II": 38.1,
    "Blackmagic Pocket 4K": 18.96,
    "Blackmagic Pocket 6K": 23.10,
    "Blackmagic Cinema Camera 6K": 35.64,
    "Blackmagic Pyxis 6K": 35.64,
    "Blackmagic Ursa Mini 4.6K": 25.34,
    "Blackmagic Ursa Mini Pro 12K": 27.03,
    "Blackmagic Pocket": 12.48,
    "Panasonic EVA1": 24.6,
    # photo
    "Sony A7": 35.8,
    "Sony A7S III": 35.6,
    "Sony A6000": 23.5,
    "Sony RX100": 13.2,
    "Canon R5": 36.0,
    "Canon 5D": 36.0,
    "Canon R7": 22.3,
    "Canon 80D": 22.3,
    "Nikon Z6": 35.9,
    "Nikon Z8": 35.9,
    "Nikon D850": 35.9,
    "Nikon D500": 23.5,
    "Fujifilm X": 23.5,
    "Fujifilm GFX": 43.8,
    "Panasonic GH5": 17.3,
    "Panasonic GH6": 17.3,
    "Panasonic S1H": 35.6,
    "Panasonic S5": 35.6,
    "Olympus OM-D": 17.3,
    # phones, action cameras, drones: their main cameras
    "iPhone 8": 4.93,
    "iPhone 11": 5.66,
    "iPhone 12": 5.59,
    "iPhone 13 Pro": 7.59,
    "iPhone 14 Pro": 9.90,
    "iPhone 15 Pro": 9.76,
    "iPhone 16 Pro": 9.76,
    "GoPro Hero 5 to 8": 6.17,
    "DJI Mavic 2 Pro": 13.2,
    "DJI Air 2S": 13.2,
    "DJI Phantom 4 Pro": 13.2,
    "DJI Mavic 3": 17.3,
    "DJI Mini 2": 6.3,
    "DJI Mini 3 Pro": 9.7,
    "DJI Inspire 2 X5S": 17.3,
    "DJI Inspire 2 X7": 23.5,
    "DJI Pocket 3": 13.2,
}
"""Name -> width of the sensor, mm."""

_NEAR = 0.55


def find_sensor(name: str) -> float | None:
    """The width of a camera's or format's sensor, mm, if it is in the list; as `sensor_width_mm`."""
    return next((width for known, width in SENSORS.items() if _key(known) == _key(name)), None)


def sensor_width_mm(name: str) -> float:
    """The width of a camera's or format's sensor; capitals, spaces and dashes do not count.

    Raises:
        InputError: there is none of that name; it names close ones.
    """
    width = find_sensor(name)
    if width is not None:
        return width
    by_key, key = {_key(known): known for known in SENSORS}, _key(name)
    holding = [known for k, known in by_key.items() if key and (key in k or k in key)]
    near = [by_key[k] for k in difflib.get_close_matches(key, by_key, n=5, cutoff=_NEAR)]
    close = list(dict.fromkeys(holding + near))[:5] or ["full frame", "Super 35", "APS-C", "Micro 4/3"]
    raise InputError(
        f"There is no camera {name!r} in the list of sensors: choose one such as {', '.join(close)}, or give the "
        "width with --sensor-mm."
    )


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9/.:]", "", name.lower())
