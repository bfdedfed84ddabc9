// Says of a table that it goes on to the right, as long as it does.
(() => {
  for (const table of document.querySelectorAll(".scroll")) {
    const hint = document.createElement("p");
    hint.className = "hint";
    hint.textContent = "The table goes on to the right: scroll it sideways →";
    hint.hidden = true;
    table.before(hint);
    const look = () => { hint.hidden = table.scrollWidth <= table.clientWidth + 1; };
    new ResizeObserver(look).observe(table);
    look();
  }
})();
