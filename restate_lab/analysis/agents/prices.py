"""The price of a model's response: from the user's own table, else from the package ``genai-prices``, by exact name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from restate_lab.analysis.agents.model import ModelStep
from restate_lab.errors import ArgumentError

Price = tuple[float, float, float]  # US dollars per million tokens: input, cached input, output
ANY_MODEL = "*"
_MILLION = 1_000_000
_VERSION = re.compile(r"-(?:\d{8}|\d{4}-\d\d-\d\d|\d{3}|latest)")
_NO_PACKAGE = "cost unknown: install restate-lab[agents], which has genai-prices, or pass prices="
_NO_NAME = "a model without a name in the journal"


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The prices of models, and a list of those that have none.

    ``own`` has the user's prices by the name of the model; "*" is for every model without one. ``package`` is the
    module ``genai_prices``, or None if it is not installed.
    """

    own: Mapping[str, Price]
    package: Any
    unpriced: dict[str, None] = field(default_factory=dict)
    _models: dict[str, Any] = field(default_factory=dict)
    _rates: dict[int, Price | None] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """Return why a cost is unknown; "" if each one is known."""
        if not self.unpriced:
            return ""
        if self.package is None and not self.own:
            return _NO_PACKAGE
        names = ", ".join(self.unpriced)
        return f"cost unknown: no price for {names}; pass prices= with the exact name, or with '*'"

    def cost(self, step: ModelStep, at: datetime | None) -> float | None:
        """Return the cost of a response in US dollars; None if its tokens or its price are unknown."""
        if step.input_tokens is None or step.output_tokens is None:
            return None
        for name in (step.model, step.model_asked):
            if name and (cost := self._cost_of(name, step, at)) is not None:
                return cost
        if ANY_MODEL in self.own:
            return _multiply(self.own[ANY_MODEL], step)
        self.unpriced[step.model or step.model_asked or _NO_NAME] = None
        return None

    def _cost_of(self, name: str, step: ModelStep, at: datetime | None) -> float | None:
        if name in self.own:
            return _multiply(self.own[name], step)
        if self.package is None:
            return None
        if name not in self._models:
            self._models[name] = self._find(name, at)
        model = self._models[name]
        if model is None:
            return None
        prices = model.get_prices(at or datetime.now(UTC))  # they can depend on the time
        if id(prices) not in self._rates:
            self._rates[id(prices)] = self._rates_of(name, prices, at)
        rates = self._rates[id(prices)]
        if rates is not None:
            return _multiply(rates, step)
        return self._calculate(name, at, step.input_tokens or 0, step.cached_tokens or 0, step.output_tokens or 0)

    def _find(self, name: str, at: datetime | None) -> Any:
        try:
            model = self._calculation(name, at).model
        except (LookupError, ValueError):
            return None
        return model if _is_same_model(name, model) else None

    def _rates_of(self, name: str, prices: Any, at: datetime | None) -> Price | None:
        """Return prices as rates, because the package takes half a millisecond for one response; None if it cannot."""
        has_tiers = not all(isinstance(each, Decimal | None) for each in vars(prices).values())
        if has_tiers or self._calculate(name, at):
            return None
        return (
            self._calculate(name, at, _MILLION),
            self._calculate(name, at, _MILLION, _MILLION),
            self._calculate(name, at, 0, 0, _MILLION),
        )

    def _calculate(self, name: str, at: datetime | None, *tokens: int) -> float:
        return float(self._calculation(name, at, *tokens).total_price)

    def _calculation(self, name: str, at: datetime | None, into: int = 0, cached: int = 0, out: int = 0) -> Any:
        usage = self.package.Usage(input_tokens=into, cache_read_tokens=cached, output_tokens=out)
        return self.package.calc_price(usage, model_ref=name, genai_request_timestamp=at)


def price_table(prices: Any) -> PriceTable:
    """Return the table of prices; ``prices`` is the user's, or None.

    Raises:
        ArgumentError: ``prices`` is not a mapping of names to three numbers.
    """
    own = {} if prices is None else prices
    if not isinstance(own, Mapping) or not all(_is_price(name, price) for name, price in own.items()):
        raise ArgumentError(
            "prices must map the name of a model to US dollars per million tokens of input, cached input and output; "
            "pass for example prices={'gpt-4o': (2.5, 1.25, 10)}."
        )
    try:
        import genai_prices  # noqa: PLC0415 - it is optional, and has 1.6 MB of data
    except ImportError:
        return PriceTable(dict(own), None)
    return PriceTable(dict(own), genai_prices)


def _is_price(name: Any, price: Any) -> bool:
    is_triple = isinstance(price, tuple | list) and len(price) == 3
    return (
        isinstance(name, str)
        and is_triple
        and all(isinstance(each, int | float) and not isinstance(each, bool) and 0 <= each < 1e9 for each in price)
    )


def _multiply(price: Price, step: ModelStep) -> float:
    cached = step.cached_tokens or 0
    of_input, of_cached, of_output = price
    cost = ((step.input_tokens or 0) - cached) * of_input + cached * of_cached + (step.output_tokens or 0) * of_output
    return cost / _MILLION


def _is_same_model(name: str, model: Any) -> bool:
    """Return whether a price is for this name, or for the name without its version; the package also takes prefixes."""
    version = name.removeprefix(model.id)
    return name in {model.id, *_exact_names(model.match)} or (version != name and bool(_VERSION.fullmatch(version)))


def _exact_names(clause: Any) -> Iterator[str]:
    if hasattr(clause, "equals"):
        yield clause.equals
    for each in getattr(clause, "or_", ()):
        yield from _exact_names(each)
