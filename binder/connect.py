"""Runs when a kernel of this Binder starts: whatever it does is told to the board of this machine."""


def _connect() -> None:
    import warnings

    import aquin_nb

    try:
        aquin_nb.connect("auto", device="binder")
    except aquin_nb.errors.AquinError as error:
        warnings.warn(f"The board could not be started, and the notebook works without it: {error}", stacklevel=1)


_connect()
