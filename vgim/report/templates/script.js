"use strict";
// Light and dark follow the system until the reader chooses. The page also works without this script.
(() => {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const button = (label, parent, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = label;
    made.addEventListener("click", () => act(made));
    parent.append(made);
    return made;
  };
  const theme = button("", document.getElementById("tools"), (made) => {
    root.dataset.theme = dark() ? "light" : "dark";
    made.textContent = dark() ? "Light" : "Dark";
  });
  theme.textContent = dark() ? "Light" : "Dark";
  theme.setAttribute("aria-label", "Switch between light and dark");

  for (const command of document.querySelectorAll(".command")) {
    const code = command.querySelector("code");
    button("Copy", command, async (made) => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        made.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        made.textContent = "Selected";
      }
      setTimeout(() => { made.textContent = "Copy"; }, 1500);
    });
  }

  // Play one sound at a time.
  document.addEventListener("play", (event) => {
    for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
  }, true);

  // Print with every section open.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
})();
