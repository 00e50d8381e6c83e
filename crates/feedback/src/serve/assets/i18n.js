// What the page says, in the reader's language.

import { kept } from "./dom.js";
import { words } from "./words.js";

const LANGUAGES = Object.keys(words);
let language = preferred();

function preferred() {
  const wanted = [kept.get("language"), ...(navigator.languages ?? [navigator.language])];
  const known = wanted.map((it) => it?.split("-")[0].toLowerCase());
  return known.find((it) => LANGUAGES.includes(it)) ?? "en";
}

/** A text of the page. `{name}` in it stands for a value. */
export function t(key, values = {}) {
  const text = words[language][key];
  if (text === undefined) throw new Error(`no words for ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** As [`t`], or `null` if nothing is said by this name. */
export function tIfAny(key, values) {
  return key in words[language] ? t(key, values) : null;
}

export function number(value, options) {
  return new Intl.NumberFormat(locale(), options).format(value);
}

export function percent(value) {
  return number(value, { style: "percent" });
}

/** Begins to speak the language that was chosen, or the browser's. */
export function applyLanguage() {
  document.documentElement.lang = locale();
  document.getElementById("skip-link").textContent = t("skipLink");
}

/** Speaks the other language. */
export function switchLanguage() {
  language = LANGUAGES[(LANGUAGES.indexOf(language) + 1) % LANGUAGES.length];
  kept.set("language", language);
  applyLanguage();
}

function locale() {
  return language === "zh" ? "zh-Hans" : language;
}
