"""Actions in a panel: the action bar with its buttons, and the form that confirms a plan."""
