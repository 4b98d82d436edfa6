"""A data server's root:// door: the bytes of one pool.

door        who comes in, and which part answers what
handles     the files one client has open
reading     open, read, readv, pgread
writing     open to write, write, writev, pgwrite, sync, truncate, close
streams     the data behind one write, as it arrives
turns       the order of what is asked of one file that is written
looking     stat, locate and questions
notes       extended attributes, of files and of what is being written
changing    files removed, renamed, their permissions and attributes
"""

from dataserver.doors.root.door import RootDoor

__all__ = ["RootDoor"]
