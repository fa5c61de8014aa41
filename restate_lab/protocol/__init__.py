"""Restate's service protocol, versions 5 to 7, by which a server and an SDK exchange journals.

``wire`` has protobuf, ``messages`` the frames and messages, and ``entries`` the entries of a journal with their fields
by name. Only the standard library is imported.
"""
