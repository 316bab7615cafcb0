"""Every error that flowstore raises."""


class FlowStoreError(Exception):
    """Base of every error that flowstore raises."""


class ArgumentError(FlowStoreError, ValueError):
    """An argument has a value that the call cannot take."""


class FlowStoreWarning(UserWarning):
    """Base of every warning that flowstore gives."""
