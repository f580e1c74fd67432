"""Headless Chromium, in which a test does what a person does; Debian has it with its driver."""

import contextlib
import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def open_page(path, *, width=1000, height=900, is_dark=False, downloads=None):
    """Open a file as a person does, without a server and without a network.

    Skips the test where there is no Chromium or no driver of it.

    Args:
        path: The HTML file.
        width: Of the window, in pixels.
        height: Likewise.
        is_dark: Whether the person prefers dark pages.
        downloads: The folder into which the page's downloads go.

    Yields:
        The driver of selenium.
    """
    webdriver = pytest.importorskip("selenium.webdriver")
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs Chromium and its driver: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_argument("--headless=new")
    options.add_argument("--hide-scrollbars")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
    if hasattr(os, "getuid") and os.getuid() == 0:
        options.add_argument("--no-sandbox")
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    page = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        set_screen(page, width, height, is_dark)
        page.get(path.absolute().as_uri())
        yield page
    finally:
        page.quit()


def set_screen(page, width, height, is_dark=False):
    """Give a page such a screen; a window cannot be narrower than 500 pixels.

    Args:
        page: The driver.
        width: In pixels.
        height: Likewise.
        is_dark: Whether the person prefers dark pages.
    """
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def console_errors(page):
    """What the page has complained about so far."""
    return [entry["message"] for entry in page.get_log("browser") if entry["level"] != "INFO"]
