"""The guide: Markdown pages, three generated ones, and the reference, which ``python -m restate_lab.guide`` builds.

`questions`, `actions` and `faults` write their page from the tables that the code uses. All other pages are the
``.md`` files of this folder, in the order of ``index.md``. ``conf.py`` has the settings of Sphinx.
"""
