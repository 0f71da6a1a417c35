"""The app in a real browser, used as a person would."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SECONDS = 300  # until something must have happened, on a busy machine
EXAMPLES = "\n".join(f"w{i} w{i + 9} w20\t{('w7 w8', 'w9')[i % 2]}" for i in range(10, 22))
CHROMIUM_ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,1300",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tiny_ctr_model, tiny_tokenizer):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    model = tiny_ctr_model()
    model.add_tuned_task("tuned", model.get_task_vectors("ag_news") + 1)  # without a code: not a task of the app
    model.save_pretrained(path)
    tiny_tokenizer.save_pretrained(path)
    return path


def start_app(*arguments: str) -> subprocess.Popen:
    pytest.importorskip("gradio", reason="the app needs gradio: pip install -e .[app]")
    return subprocess.Popen(
        [sys.executable, "app.py", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# ------------------------------------------------------------------------------------------------ in the browser


class Browser:
    """A page, and what a person does with it."""

    def __init__(self, driver, address: str):
        from selenium.webdriver.common.by import By

        self.driver = driver
        self.css, self.xpath = By.CSS_SELECTOR, By.XPATH
        driver.get(address)
        self.until(lambda: self.element("#input textarea").is_displayed(), "the page")

    def until(self, condition: Callable[[], object], what: str):
        from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException

        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                if value := condition():
                    return value
            except (NoSuchElementException, StaleElementReferenceException):
                pass
            time.sleep(0.1)
        raise AssertionError(f"{what} did not appear in {SECONDS} s; the page says:\n{self.element('body').text}")

    def element(self, selector: str):
        return self.driver.find_element(self.css, selector)

    def text(self, selector: str) -> str:
        return self.element(selector).text

    def value(self, selector: str) -> str:
        return self.element(selector).get_property("value")

    def type(self, selector: str, text: str) -> None:
        """Over what is there."""
        from selenium.webdriver.common.keys import Keys

        self.element(selector).send_keys(Keys.CONTROL, "a")
        self.element(selector).send_keys(Keys.BACKSPACE, text)

    def paste(self, selector: str, text: str) -> None:
        """What holds tabs: typed, they would go to the next field."""
        self.driver.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            self.element(selector),
            text,
        )

    def click(self, selector: str) -> None:
        element = self.element(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def open_tab(self, name: str) -> None:
        self.driver.find_element(self.xpath, f"//button[@role='tab'][contains(., '{name}')]").click()

    def set_position(self, number: int, value: int) -> None:
        from selenium.webdriver.common.keys import Keys

        field = self.driver.find_elements(self.css, "#code input[type=number]")[number - 1]
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(str(value), Keys.ENTER)

    def code(self) -> list[int]:
        fields = self.driver.find_elements(self.css, "#code input[type=number]")
        return [int(field.get_property("value")) for field in fields]

    def choose(self, selector: str, option: str) -> None:
        self.click(f"{selector} input")

        def offered():
            elements = self.driver.find_elements(self.css, "[role=option]")
            return next((e for e in elements if e.text.strip().endswith(option)), None)

        self.until(offered, f"the option {option}").click()  # its text is empty until it is unfolded


@pytest.fixture(scope="module")
def address(checkpoint):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start_app(str(checkpoint), "--port", str(port))
    address = f"http://127.0.0.1:{port}/"
    try:
        end = time.monotonic() + SECONDS
        while True:
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except (urllib.error.URLError, TimeoutError):
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < end, "the app did not start"
                time.sleep(0.3)
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def driver(tmp_path_factory, downloads):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install -e .[dev]")
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chrome"))
    chromium, chromedriver = next(filter(None, found), None), shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("no chromium with chromedriver here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in CHROMIUM_ARGUMENTS:
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, address):
    return Browser(driver, address)


@pytest.mark.slow
def test_using_a_code(page):
    names = ["glue_mrpc", "glue_qqp", "ag_news"]
    assert "does 3 tasks" in page.text("body")
    assert "This is the code of glue_mrpc." in page.text("#nearest")
    assert "Type an input" in page.text("#note")
    page.type("#input textarea", "w5 w6 w7")
    page.until(lambda: page.value("#written textarea"), "a free answer")
    assert "%" not in page.text("#probabilities")
    page.type("#choices textarea", "w7 w8\nw9")
    page.until(lambda: "%" in page.text("#probabilities"), "probabilities")
    first = page.text("#probabilities")
    assert "w7 w8" in first and "w9" in first

    # Another position, by hand: other probabilities, at once.
    code = page.code()
    changed = (code[1] + 3) % 8
    page.set_position(2, changed)
    page.until(lambda: page.text("#probabilities") != first, "other probabilities")
    page.until(lambda: "3 of 4 positions as in glue_mrpc." in page.text("#nearest"), "the nearest task")
    assert page.code() == [code[0], changed, *code[2:]]

    # Another task: its code.
    page.choose("#task", names[2])
    page.until(lambda: "This is the code of ag_news." in page.text("#nearest"), "the chosen task's code")
    assert page.code() != code

    # Wrong input says what is wrong, and the answer goes.
    page.type("#choices textarea", "w9")
    page.until(lambda: "'w9' is the only answer choice: give at least two" in page.text("#note"), "what is wrong")
    assert page.value("#written textarea") == ""
    page.type("#choices textarea", "w7 w8\nw9")
    page.until(lambda: "%" in page.text("#probabilities"), "probabilities again")
    assert page.text("#note") == ""
    page.type("#input textarea", " ")
    page.until(lambda: "Type an input" in page.text("#note"), "what is missing")


@pytest.mark.slow
def test_searching_with_answers(page, driver, downloads):
    page.open_tab("Find a code")
    page.until(lambda: page.element("#search").is_displayed(), "the tab")
    for examples, choices, wrong in [
        ("", "", "There are no examples: paste one per line."),
        ("w5 w6", "", "Line 1 must be an input, a tab and its answer."),
        (EXAMPLES, "w9\nw10", "Line 1: the answer 'w7 w8' is not among the choices w9, w10."),
        (EXAMPLES, "w9", "'w9' is the only answer choice: give at least two, one per line."),
    ]:
        page.paste("#examples textarea", examples)
        page.type("#given textarea", choices)
        page.click("#search")
        page.until(lambda wrong=wrong: wrong in page.text("#status"), wrong)
        assert not page.element("#use-code").is_enabled()

    page.paste("#examples textarea", EXAMPLES)
    page.type("#given textarea", "w9\nw7 w8")
    page.click("#search")
    found = page.until(lambda: page.value("#found textarea"), "the found code")
    code = [int(value) for value in found.split()]
    assert len(code) == 4
    assert "Done after" in page.text("#status") and "best training task's code" in page.text("#status")
    page.until(lambda: page.element("#curve img").get_property("naturalWidth") > 100, "the curve")
    page.until(lambda: "w10 w19 w20" in page.text("#predictions"), "predictions")

    page.click("#file")
    file = downloads / "task_code.json"
    page.until(file.is_file, "the file")
    saved = json.loads(file.read_text())
    assert (saved["name"], saved["code"], saved["checkpoint"]) == ("my-task", code, "tiny")

    page.click("#use-code")
    page.until(lambda: page.element("#input textarea").is_displayed(), "the first tab")
    page.until(lambda: page.code() == code, "the found code in the first tab")
    assert page.value("#choices textarea") == "w9\nw7 w8"
    assert page.value("#task input") == ""

    page.open_tab("The codebook")
    frame = page.until(lambda: page.element("#report iframe"), "the report")
    driver.switch_to.frame(frame)
    try:
        assert "Codebook of tiny" in page.text("body")
        assert "A search for a new task" in page.text("body")
        assert " ".join(map(str, code)) in page.text("body")
    finally:
        driver.switch_to.default_content()


@pytest.mark.slow
def test_searching_without_answers(page):
    page.open_tab("Find a code")
    page.until(lambda: page.element("#search").is_displayed(), "the tab")
    page.click("#method label:nth-of-type(2)")
    page.paste("#examples textarea", "w5 w6\nw7 w8\nw9 w10")
    page.click("#search")
    page.until(lambda: "Code Ensemble votes between answer choices" in page.text("#status"), "what is missing")
    page.type("#given textarea", "w7 w8\nw9")
    page.click("#search")
    found = page.until(lambda: page.value("#found textarea"), "the found code")
    assert "3 codes voted" in page.text("#status")
    assert len(found.split()) == 4
    page.until(lambda: "w5 w6" in page.text("#predictions"), "predictions")


@pytest.mark.slow
def test_the_codebook(page, driver):
    page.open_tab("The codebook")
    frame = page.until(lambda: page.element("#report iframe"), "the report")
    driver.switch_to.frame(frame)
    try:
        assert "Codebook of tiny" in page.text("body")
        assert len(driver.find_elements(page.css, "img")) == 3
        assert "A search for a new task" not in page.text("body")
    finally:
        driver.switch_to.default_content()


@pytest.mark.slow
def test_nothing_comes_from_elsewhere_and_nothing_fails(page, driver, address):
    """In order of the file, this sees the requests of all visits before it."""
    page.open_tab("The codebook")
    page.until(lambda: page.element("#report iframe"), "the report")
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert [url for url in asked if not url.startswith((address, "data:", "blob:", "chrome", "about:"))] == []
    assert any(url.startswith(address) for url in asked)
    errors = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []
