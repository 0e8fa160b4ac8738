import { words } from "./words.js";

// Set once per page load: a full reload would lose it, a live update keeps it.
window.loaded ??= Math.random();
const show = (text) => { document.getElementById("words").textContent = text; };
show(words);
import.meta.hot.accept("./words.js", (next) => show(next.words));
