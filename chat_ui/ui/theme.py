"""The page's look, as far as Gradio's theme gives it; the rest is in `assets/css`.

One accent colour, a paper-like neutral, and fonts that come with Gradio: nothing is fetched from
elsewhere.
"""

from typing import Final

from gradio.themes import Base
from gradio.themes.utils import colors, fonts, sizes

# Of the fonts in Gradio 6.31, Source Sans 3, Lora, Lexend and every 600 lack most of their letters.
WEIGHTS: Final = (400, 700)

TEAL: Final = colors.Color(
    name="lagoon",
    c50="#eef7f6",
    c100="#d6ecea",
    c200="#aedbd6",
    c300="#7dc4bd",
    c400="#48a79f",
    c500="#1f8a82",
    c600="#10706a",
    c700="#0e5a56",
    c800="#0d4744",
    c900="#0b3a38",
    c950="#062322",
)

PAPER: Final = colors.Color(
    name="paper",
    c50="#faf9f7",
    c100="#f3f1ed",
    c200="#e6e2dc",
    c300="#d2cdc5",
    c400="#a09a91",
    c500="#6f6a63",
    c600="#57534d",
    c700="#3b3935",
    c800="#282725",
    c900="#1c1b1a",
    c950="#141413",
)


def theme() -> Base:
    """The theme, light and dark."""
    look = Base(
        primary_hue=TEAL,
        secondary_hue=TEAL,
        neutral_hue=PAPER,
        text_size=sizes.text_md,
        radius_size=sizes.radius_lg,
        font=(
            fonts.LocalFont("Source Sans Pro", WEIGHTS),
            "ui-sans-serif",
            "system-ui",
            "sans-serif",
        ),
        font_mono=(
            fonts.LocalFont("IBM Plex Mono", WEIGHTS),
            "ui-monospace",
            "Consolas",
            "monospace",
        ),
    )
    return look.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="#e9e6e1",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="#a8a29a",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_800",
        border_color_primary="*neutral_200",
        border_color_primary_dark="#343230",
        block_border_width="0px",
        block_shadow="none",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_text_weight="600",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="#d8d4cd",
        block_title_text_size="*text_sm",
        block_padding="0px",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="#a8a29a",
        panel_background_fill="transparent",
        panel_background_fill_dark="transparent",
        input_background_fill="#ffffff",
        input_background_fill_dark="#232220",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="#3f3c39",
        input_border_color_focus="*primary_500",
        input_border_color_focus_dark="*primary_400",
        input_shadow="none",
        input_shadow_focus="0 0 0 3px color-mix(in srgb, *primary_500 18%, transparent)",
        input_shadow_focus_dark="0 0 0 3px color-mix(in srgb, *primary_400 22%, transparent)",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="#8f8980",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_400",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="transparent",
        button_secondary_background_fill_dark="transparent",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="*neutral_800",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="#3f3c39",
        button_secondary_text_color="*neutral_800",
        button_secondary_text_color_dark="#e9e6e1",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
        checkbox_label_background_fill_hover="*neutral_100",
        checkbox_label_background_fill_hover_dark="*neutral_800",
        checkbox_label_background_fill_selected="*primary_50",
        checkbox_label_background_fill_selected_dark="*primary_900",
        checkbox_label_border_color="*neutral_300",
        checkbox_label_border_color_dark="#3f3c39",
        checkbox_label_shadow="none",
        checkbox_background_color_selected="*primary_600",
        checkbox_border_color_selected="*primary_600",
        code_background_fill="*neutral_100",
        code_background_fill_dark="#232220",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )
