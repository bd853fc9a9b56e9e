"""A network file system whose replies are lost: system calls succeed, but report an error."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from descriptors import path_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

# The call was repeated, and the second one finds no file to rename; the server is gone, or has lost the
# handle.
OF_RENAMES = (errno.ENOENT, errno.EIO, errno.ESTALE)


def lose_replies(patch: pytest.MonkeyPatch, call: str, name: str, number: int) -> list[str]:
    """Make `call` succeed and then raise an error, once, if the name of the path it makes begins with `name`.

    Return a list, to which the name is added when this happens.
    """
    real: Callable[..., Any] = getattr(os, call)
    lost: list[str] = []

    def fail(*args: object, **kwargs: object) -> object:
        result = real(*args, **kwargs)
        target = args[0] if call == "mkdir" else args[1]
        if path_of(target).name.startswith(name) and not lost:
            lost.append(path_of(target).name)
            raise OSError(number, os.strerror(number), args[0], None, target)
        return result

    patch.setattr(os, call, fail)
    return lost
