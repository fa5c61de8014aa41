"""The weather service that the agent asks: it fails for Denver until someone repairs it."""

import hashlib

from restate_lab.demo.faults import is_fixed

__all__ = ["WeatherDown", "current_weather"]

SKIES = ("sunny", "cloudy", "light rain", "windy", "clear")


class WeatherDown(Exception):
    """The weather service does not answer."""


def current_weather(city: str) -> str:
    """Return the weather of a city: made up, but always the same.

    Raises:
        WeatherDown: for Denver, as long as the problem "weather" is not fixed.

    """
    if city == "Denver" and not is_fixed("weather"):
        raise WeatherDown(f"no answer from the weather service for {city}: connection timed out")
    number = int.from_bytes(hashlib.sha256(city.encode()).digest()[:4])
    return f"{SKIES[(number >> 8) % len(SKIES)]}, {5 + number % 25} °C"
