"""Weak labels of quality: by the layout of a page, not by its source."""

from stages.curation.classification import layout, quality
from stages.curation.classify import low_quality
from tests.curation.samples import PROSE, document

FORM = "Log in\n\nUsername:\nPassword:\n\nForgot your password? Register\n\nHome | Contact us | Terms of use"
MENU = "\n".join(["Shirts", "$19.99", "Shoes", "$49.99", "Add to cart", "Free shipping"] * 5)


def test_the_label_depends_on_the_page_and_not_on_its_source() -> None:
    for source in ("forms", "wikipedia-en", "crawl"):
        assert quality.weak_label(document(PROSE, source=source)) == "positive"
        assert quality.weak_label(document(FORM, source=source)) == "negative"
        assert quality.weak_label(document(MENU, source=source)) == "negative"
    assert quality.weak_label(document(PROSE, media="code")) is None


def test_wrapped_lines_are_one_paragraph() -> None:
    wrapped = PROSE.replace(". ", ".\n").replace(" and ", "\nand ")
    assert layout.measure_layout(wrapped).prose == layout.measure_layout(PROSE).prose == 1.0
    assert layout.measure_layout(FORM).interface > 20
    assert layout.measure_layout("").prose == 0.0


def test_a_menu_of_shuffled_words_is_never_a_good_page() -> None:
    menus = [menu for n in range(60) if (menu := layout.shuffled_menu(document(f"{PROSE} {n}"), 2000))]
    assert 3 < len(menus) < 20
    assert "positive" not in {layout.weak_label(menu) for menu in menus}
    again = layout.shuffled_menu(menus[0] | {"text": PROSE}, 2000)
    assert again == layout.shuffled_menu(menus[0] | {"text": PROSE}, 2000)


def test_pages_of_generated_tasks_are_not_dropped() -> None:
    options = quality.Quality(threshold=0.5, buckets=["general"], lowest=0.5)
    page = document(FORM) | {"bucket": "general", "quality": 0.0, "judged": 0.0, "rank": 0.0}
    assert low_quality(page, options, 0.5) is not None
    assert low_quality(page | {"source": "generated-mails"}, options, 0.5) is None
