"""The guide: Markdown pages, four that are modules, and the reference; ``python -m restate_lab.guide`` builds it.

`questions`, `actions` and `faults` write their page from the tables that the code uses, and `columns` has its own text.
All other pages are the ``.md`` files of this folder, in the order of ``index.md``. ``conf.py`` has the settings of
Sphinx.
"""
