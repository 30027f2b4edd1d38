"""The panel "Appearance": light, dark, or as the system is, and how much is told. The browser keeps
both.
"""

from typing import Final

from chat_ui.service import ChatService
from chat_ui.ui import islands
from chat_ui.ui.offload import Offload
from chat_ui.ui.panels.controls import Controls

LOOK: Final = """<fieldset><legend class="visually-hidden">Theme</legend><div class="choices">
<label><input type="radio" name="look" value="system"><span>System</span></label>
<label><input type="radio" name="look" value="light"><span>Light</span></label>
<label><input type="radio" name="look" value="dark"><span>Dark</span></label>
</div></fieldset>"""

DETAIL: Final = """<fieldset><legend>Detail</legend><div class="choices">
<label><input type="radio" name="detail" value="simple"><span>Simple</span></label>
<label><input type="radio" name="detail" value="more"><span>More</span></label>
<label><input type="radio" name="detail" value="everything"><span>Everything</span></label>
</div></fieldset>"""


def build(service: ChatService, offload: Offload) -> Controls:
    """No control that an event reads."""
    islands.island("look", LOOK)
    islands.island("detail", DETAIL)
    return {}
