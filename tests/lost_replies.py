"""A file system over a network whose replies are lost: what is called is done, and reported as an error."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from descriptors import path_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

# The call is repeated, and the second finds nothing to rename; the server is gone, or has forgotten the file.
OF_RENAMES = (errno.ENOENT, errno.EIO, errno.ESTALE)


def lose_replies(patch: pytest.MonkeyPatch, call: str, name: str, number: int) -> list[str]:
    """Have `call` do what it does and fail where its second path begins with `name`.

    Returns the names for which it did, which are none at first.
    """
    real: Callable[..., Any] = getattr(os, call)
    lost: list[str] = []

    def fail(path: object, target: object, *args: object, **kwargs: object) -> object:
        result = real(path, target, *args, **kwargs)
        if path_of(target).name.startswith(name) and not lost:
            lost.append(path_of(target).name)
            raise OSError(number, os.strerror(number), path, None, target)
        return result

    patch.setattr(os, call, fail)
    return lost
