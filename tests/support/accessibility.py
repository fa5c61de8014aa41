"""Checks a page for people with low vision and for screen readers: names, contrast and overflow."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator

ROLES = (
    "button", "checkbox", "columnheader", "combobox", "dialog", "grid", "image", "link", "listbox", "progressbar",
    "searchbox", "spinbutton", "tab", "textbox",
)  # fmt: skip
MARK = "data-reviewed"
# Each visible text with its contrast to the background behind it, as WCAG 2 defines it. Disabled controls may be faint.
# Backgrounds are blended up to the first opaque one.
FAINT = r"""(root, least) => {
    const rgba = text => {
        const parts = text.match(/[\d.]+(e-\d+)?/g).map(Number);
        const [r, g, b, a = 1] = text.startsWith('color(') ? parts.map((n, i) => i < 3 ? n * 255 : n) : parts;
        return [r, g, b, a]; };
    const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1];
    const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = element => {
        const layers = [];
        for (let e = element; e; e = e.parentElement) {
            const colour = rgba(getComputedStyle(e).backgroundColor);
            layers.push(colour);
            if (colour[3] === 1) break;
        }
        return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
    };
    const opacity = element => {
        let all = 1;
        for (let e = element; e && e !== root.parentElement; e = e.parentElement) all *= getComputedStyle(e).opacity;
        return all;
    };
    const found = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const text = walker.currentNode.textContent.trim();
        if (!text || !element.checkVisibility({ visibilityProperty: true })) continue;
        if (element.closest(':disabled, [aria-disabled=true], option, title, .rl-loading')) continue;
        const below = ground(element);
        const colour = rgba(getComputedStyle(element).color);
        const shown = over([...colour.slice(0, 3), colour[3] * opacity(element)], below);
        const [dark, light] = [luminance(shown), luminance(below)].sort((a, b) => a - b);
        const contrast = (light + 0.05) / (dark + 0.05);
        if (contrast < least) found.push(`${contrast.toFixed(2)}: ${text.slice(0, 60)} (.${element.className})`);
    }
    return [...new Set(found)]; }"""
# The elements that extend beyond the right edge of the part, unless an ancestor scrolls or cuts on purpose.
OUTSIDE = """root => {
    const edge = root.getBoundingClientRect().right + 2;
    const isCut = e => { for (let p = e.parentElement; p && p !== root.parentElement; p = p.parentElement)
        if (getComputedStyle(p).overflowX !== 'visible' || p.closest('.rl-scroll')) return true; return false; };
    return [...root.querySelectorAll('*')]
        .filter(e => e.checkVisibility() && e.getBoundingClientRect().right > edge && !isCut(e))
        .map(e => `${e.tagName}.${e.className}: ${e.textContent.slice(0, 60)}`); }"""


def unnamed_roles(part: Locator) -> list[str]:
    """Return the roles of elements in this part that have no name for a screen reader."""
    part.evaluate("(e, mark) => e.setAttribute(mark, '')", MARK)
    session = part.page.context.new_cdp_session(part.page)
    try:
        session.send("Accessibility.enable")
        root = session.send("DOM.getDocument", {"depth": 0})["root"]["nodeId"]
        node = session.send("DOM.querySelector", {"nodeId": root, "selector": f"[{MARK}]"})["nodeId"]
        found = [role for role in ROLES for each in _accessible_nodes(session, node, role) if not _name(each)]
    finally:
        session.detach()
        part.evaluate("(e, mark) => e.removeAttribute(mark)", MARK)
    return found


def faint_texts(part: Locator, least: float = 4.5) -> list[str]:
    """Return the texts with less contrast to their background than this."""
    found: list[str] = part.evaluate(FAINT, least)
    return found


def overflowing_parts(part: Locator) -> list[str]:
    """Return the elements that extend beyond the right edge of this part, and cannot be scrolled to."""
    found: list[str] = part.evaluate(OUTSIDE)
    return found


def _accessible_nodes(session: Any, node: int, role: str) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = session.send("Accessibility.queryAXTree", {"nodeId": node, "role": role})["nodes"]
    return [each for each in nodes if not each.get("ignored")]


def _name(node: dict[str, Any]) -> str:
    return str(node.get("name", {}).get("value", "")).strip()
