"""What a Space tells of its login with Hugging Face, and who of those who log in owns it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class OAuth:
    """The variables that a Space with `hf_oauth: true` in its front matter has.

    Source: https://huggingface.co/docs/hub/spaces-oauth

    Attributes:
        client_id: of the Space, as the provider knows it.
        client_secret: the provider's and ours.
        provider_url: of the OpenID provider, without a slash at its end.
        author: the name of the user or the organisation that the Space is under.
        creator_id: the id of the user who made it; it stays the same when the user changes names.
    """

    client_id: str
    client_secret: str = field(repr=False)
    provider_url: str
    author: str
    creator_id: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "OAuth | None":
        """What these variables say; None where there is no login, or nobody could own the Space."""
        found = cls(
            client_id=environ.get("OAUTH_CLIENT_ID", ""),
            client_secret=environ.get("OAUTH_CLIENT_SECRET", ""),
            provider_url=environ.get("OPENID_PROVIDER_URL", "").rstrip("/"),
            author=environ.get("SPACE_AUTHOR_NAME", ""),
            creator_id=environ.get("SPACE_CREATOR_USER_ID", ""),
        )
        is_whole = found.client_id and found.client_secret and found.provider_url
        return found if is_whole and (found.author or found.creator_id) else None

    def is_owner(self, user_id: str, name: str) -> bool:
        """Whether this user of the provider owns the Space.

        No user has an organisation's name: of an organisation's Space it is who made it.
        """
        return (bool(user_id) and user_id == self.creator_id) or (
            bool(name) and name == self.author
        )
