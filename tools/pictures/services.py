"""How each service shows a payload.

A payload with a part that is not known is an error, so no picture leaves anything out. The looks
are our own: similar enough to be recognised, without logos or code of the services.
"""

from collections.abc import Callable, Mapping
from functools import partial

from tools.pictures import alerts, chats, phones
from tools.pictures.markup import Markup

SHOW: Mapping[str, Callable[[bytes], Markup]] = {
    "slack": chats.show_slack,
    "discord": chats.show_discord,
    "teams": chats.show_teams,
    "telegram": chats.show_telegram,
    "mattermost": partial(chats.show_markdown, "Mattermost"),
    "rocketchat": partial(chats.show_markdown, "Rocket.Chat"),
    "googlechat": chats.show_googlechat,
    "matrix": chats.show_matrix,
    "ntfy": phones.show_ntfy,
    "gotify": phones.show_gotify,
    "pushover": phones.show_pushover,
    "email": phones.show_email,
    "apprise": phones.show_apprise,
    "pagerduty": alerts.show_pagerduty,
    "alertmanager": alerts.show_alertmanager,
    "http": alerts.show_json,
    "console": alerts.show_lines,
}
"""What shows a payload of each type of destination."""
