"""Where panels were tried.

| front end | tried | what was seen |
|---|---|---|
| JupyterLab 4 in Chromium | in every run of the tests | everything |
| Notebook 7.6 in Chromium | by hand | panel, filters, an opened invocation, plan, reason, resume, shortcuts |
| notebooks exported to HTML | in every run of the tests | static tables of what the panels held |
| a terminal (`restate-lab`) | in every run of the tests | at 80, 120 and 200 columns: colors, wrapped text, bars |
| a terminal (IPython) | by hand | cards and panels are one line; frames, plots and magics work |

Not tried: VS Code, Google Colab (it needs its custom widget manager), screen readers. Panels are anywidgets without a
lab extension, so front ends that show anywidgets should show them; where none is, every panel is a static table.
"""
