"""The price of a model's response: from the user's own table, else from the package ``genai-prices``, by exact name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from restate_lab.analysis.agents.model import ModelStep
from restate_lab.errors import ArgumentError

Price = tuple[float, float, float]  # US dollars per million tokens: input, cached input, output
ANY_MODEL = "*"
_MILLION = 1_000_000
_VERSION = re.compile(r"-(?:\d{8}|\d{4}-\d\d-\d\d|\d{3}|latest)")
_NO_PACKAGE = "cost unknown: install restate-lab[agents], which has genai-prices, or pass prices="
_NO_NAME = "a model without a name in the journal"


class _Rates(NamedTuple):
    """US dollars per million tokens; ``written`` and ``written_1h`` are input that was written to a cache."""

    input: float
    cached: float
    output: float
    written: float
    written_1h: float


class _Model(NamedTuple):
    """The name of a model, and the id of the provider in the package if the response shows it."""

    name: str
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The prices of models, and a list of those that have none.

    ``own`` has the user's prices by the name of the model; "*" is for every model without one. ``package`` is the
    module ``genai_prices``, or None if it is not installed.
    """

    own: Mapping[str, Price]
    package: Any
    unpriced: dict[str, None] = field(default_factory=dict)
    _models: dict[_Model, Any] = field(default_factory=dict)
    _rates: dict[int, _Rates | None] = field(default_factory=dict)

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
            return _multiply(_own_rates(self.own[ANY_MODEL]), step)
        self.unpriced[step.model or step.model_asked or _NO_NAME] = None
        return None

    def _cost_of(self, name: str, step: ModelStep, at: datetime | None) -> float | None:
        if name in self.own:
            return _multiply(_own_rates(self.own[name]), step)
        if self.package is None:
            return None
        model = _Model(name, step.provider)
        if model not in self._models:
            self._models[model] = self._find(model, at)
        if self._models[model] is None:
            return None
        prices = self._models[model].get_prices(at or datetime.now(UTC))  # they can depend on the time
        if id(prices) not in self._rates:
            self._rates[id(prices)] = self._rates_of(model, prices, at)
        rates = self._rates[id(prices)]
        if rates is not None:
            return _multiply(rates, step)
        return self._calculate(
            model,
            at,
            input_tokens=step.input_tokens or 0,
            cache_read_tokens=step.cached_tokens or 0,
            cache_write_tokens=step.cache_write_tokens or 0,
            cache_write_1h_tokens=step.cache_write_1h_tokens or 0,
            output_tokens=step.output_tokens or 0,
        )

    def _find(self, model: _Model, at: datetime | None) -> Any:
        try:
            found = self._calculation(model, at).model
        except (LookupError, ValueError):
            return None
        return found if _is_same_model(model.name, found) else None

    def _rates_of(self, model: _Model, prices: Any, at: datetime | None) -> _Rates | None:
        """Return prices as rates, because the package takes half a millisecond for one response; None if it cannot."""
        has_tiers = not all(isinstance(each, Decimal | None) for each in vars(prices).values())
        if has_tiers or self._calculate(model, at):
            return None
        written = {"input_tokens": _MILLION, "cache_write_tokens": _MILLION}
        return _Rates(
            input=self._calculate(model, at, input_tokens=_MILLION),
            cached=self._calculate(model, at, input_tokens=_MILLION, cache_read_tokens=_MILLION),
            output=self._calculate(model, at, output_tokens=_MILLION),
            written=self._calculate(model, at, **written),
            written_1h=self._calculate(model, at, **written, cache_write_1h_tokens=_MILLION),
        )

    def _calculate(self, model: _Model, at: datetime | None, **tokens: int) -> float:
        return float(self._calculation(model, at, **tokens).total_price)

    def _calculation(self, model: _Model, at: datetime | None, **tokens: int) -> Any:
        usage = self.package.Usage(**{kind: number for kind, number in tokens.items() if number})
        return self.package.calc_price(
            usage, model_ref=model.name, provider_id=model.provider, genai_request_timestamp=at
        )


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


def _own_rates(price: Price) -> _Rates:
    """Return the user's price, which is the same for input that is written to a cache."""
    of_input, of_cached, of_output = price
    return _Rates(of_input, of_cached, of_output, written=of_input, written_1h=of_input)


def _multiply(rates: _Rates, step: ModelStep) -> float:
    cached, written, written_1h = step.cached_tokens or 0, step.cache_write_tokens or 0, step.cache_write_1h_tokens or 0
    cost = ((step.input_tokens or 0) - cached - written) * rates.input + cached * rates.cached
    cost += (written - written_1h) * rates.written + written_1h * rates.written_1h
    return (cost + (step.output_tokens or 0) * rates.output) / _MILLION


def _is_same_model(name: str, model: Any) -> bool:
    """Return whether a price is for this name, or for the name without its version; the package also takes prefixes."""
    version = name.removeprefix(model.id)
    return name in {model.id, *_exact_names(model.match)} or (version != name and bool(_VERSION.fullmatch(version)))


def _exact_names(clause: Any) -> Iterator[str]:
    if hasattr(clause, "equals"):
        yield clause.equals
    for each in getattr(clause, "or_", ()):
        yield from _exact_names(each)
