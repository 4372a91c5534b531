// The list of voices. What people wrote is only ever set as text, never as markup.

import { notice } from "./status.js";

const cardTemplate = document.getElementById("voice");
const previewTemplate = document.getElementById("preview");
const empty = document.getElementById("empty");
const title = document.title;

export class VoiceList {
  constructor(list, { useAgain, onSettled }) {
    this.list = list;
    this.useAgain = useAgain;
    this.onSettled = onSettled;
    this.cards = new Map();
    this.unseen = 0; // settled while nobody looked
    setInterval(() => this.tick(), 1000);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.unseen = 0;
      this.count();
    });
  }

  /** Show exactly these voices. */
  replace(voices) {
    const ids = new Set(voices.map((voice) => voice.id));
    for (const card of [...this.cards.values()].filter((card) => !ids.has(card.voice.id))) {
      this.remove(card);
    }
    for (const voice of voices) this.show(voice);
    this.count();
  }

  /** Show a voice, or what is new about it. */
  show(voice) {
    let card = this.cards.get(voice.id);
    if (card && card.voice.version >= voice.version) return;
    if (!card) {
      card = new Card(voice, this);
      this.cards.set(voice.id, card);
      this.place(card);
    } else {
      const settled = card.voice.running && !voice.running;
      card.update(voice);
      if (settled) {
        if (document.hidden) this.unseen += 1;
        this.onSettled(voice);
      }
    }
    this.count();
  }

  /** Show when the voices in the making are likely to be done, as far as known. */
  foresee(likely) {
    for (const [id, card] of this.cards) {
      card.left = likely[id];
      card.showLikely();
    }
  }

  /** Put a new card before the first that is older. */
  place(card) {
    const older = [...this.list.children].find(
      (other) => Number(other.dataset.began) < card.voice.began,
    );
    this.list.insertBefore(card.element, older ?? null);
  }

  remove(card) {
    card.element.remove();
    this.cards.delete(card.voice.id);
  }

  count() {
    empty.hidden = this.cards.size > 0;
    const running = [...this.cards.values()].filter((card) => card.voice.running).length;
    const marks = [this.unseen && `✓ ${this.unseen} done`, running && `${running} in the making`];
    document.title = [marks.filter(Boolean).join(", "), title].filter(Boolean).join(" · ");
  }

  tick() {
    for (const card of this.cards.values()) {
      if (!card.voice.running) continue;
      card.showTime();
      card.showLikely();
    }
  }
}

class Card {
  constructor(voice, list) {
    this.element = cardTemplate.content.firstElementChild.cloneNode(true);
    this.part = (name) => this.element.querySelector(`.${name}`);
    this.element.dataset.id = voice.id;
    this.element.dataset.began = voice.began;
    this.part("description").textContent = voice.description;
    this.part("text").textContent = voice.text;
    this.part("task").textContent = voice.task_id;
    this.part("again").addEventListener("click", () => list.useAgain(this.voice));
    this.post("resume", "watch");
    this.post("refetch", "previews");
    this.update(voice);
  }

  /** Have a button ask the server for something. News of it comes by the stream. */
  post(name, action) {
    const button = this.part(name);
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const response = await fetch(`/voices/${this.voice.id}/${action}`, { method: "POST" });
        if (!response.ok) notice((await response.json()).advice);
      } catch {
        notice("The server did not answer. Try again when this page is live.");
      } finally {
        button.disabled = false;
      }
    });
  }

  update(voice) {
    this.voice = voice;
    this.began = performance.now() - voice.seconds * 1000;
    this.element.dataset.tone = voice.tone;
    this.part("icon").textContent = voice.icon;
    this.part("title").textContent = voice.title;
    this.part("advice").textContent = this.advice();
    this.part("said").textContent = voice.said && `Camb.ai says: ${voice.said}`;
    this.part("status").textContent = voice.status || "not known yet";
    this.part("action").textContent = voice.action.replaceAll("_", " ");
    this.part("again").hidden = voice.running;
    this.part("resume").hidden = !voice.can_resume;
    this.part("refetch").hidden = !voice.previews_failed;
    this.showTime();
    this.showLikely();
    this.showPreviews();
  }

  advice() {
    const voice = this.voice;
    if (!voice.succeeded || voice.action !== "download_voice") return voice.advice;
    if (voice.previews_failed) return "It is made, but its previews could not be found just now.";
    if (voice.previews === null) return "Fetching the previews…";
    if (voice.previews === 0) return "The service made no previews. Contact support.";
    return voice.advice;
  }

  showTime() {
    const seconds = this.voice.running
      ? (performance.now() - this.began) / 1000
      : this.voice.seconds;
    const text = clock(seconds);
    this.part("time").textContent = this.voice.running ? text : `took ${text}`;
  }

  /** Show a range and no countdown; the bar is as vague as what is known. */
  showLikely() {
    const likely = this.part("likely");
    likely.hidden = !this.voice.running || !this.left;
    if (likely.hidden) return;
    const [low, high] = this.left;
    const elapsed = Math.max(0.1, (performance.now() - this.began) / 1000);
    const share = (left) => `${(100 * elapsed) / (elapsed + left)}%`;
    likely.style.setProperty("--least", share(high ?? Infinity));
    likely.style.setProperty("--most", share(low));
    this.part("range").textContent =
      high === null
        ? `Likely done in more than ${clock(low)}`
        : `Likely done in ${clock(low)} to ${clock(high)}`;
  }

  /** Add the players that are missing. Those that are there may be playing. */
  showPreviews() {
    const list = this.part("previews");
    for (let number = list.children.length + 1; number <= this.voice.previews; number += 1) {
      list.append(this.preview(number));
    }
  }

  preview(number) {
    const item = previewTemplate.content.firstElementChild.cloneNode(true);
    const audio = item.querySelector("audio");
    const failure = item.querySelector(".error");
    const url = `/voices/${this.voice.id}/previews/${number}`;
    item.querySelector(".label").textContent = `Preview ${number}`;
    audio.setAttribute("aria-label", `Preview ${number} of ${this.voice.description}`);
    item.querySelector(".download").href = url;
    item.querySelector(".download").setAttribute("aria-label", `Download preview ${number}`);
    audio.addEventListener("error", () => (failure.hidden = false));
    audio.addEventListener("loadedmetadata", () => (failure.hidden = true));
    item.querySelector(".reload").addEventListener("click", () => audio.load());
    audio.src = url;
    return item;
  }
}

function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
