"""Errors of device_profiles.

ProfileError
├── TextFileError      a file a person wrote cannot be used (syntax, unknown key, wrong value)
└── UnknownProfile     no device profile of that name
"""

from __future__ import annotations


class ProfileError(Exception):
    """Root of the errors of device_profiles. The message is one paragraph for a person."""


class TextFileError(ProfileError):
    """A file that a person wrote cannot be used: says the file, the line or field, and what to do."""


class UnknownProfile(ProfileError):
    """No device profile has that name."""
