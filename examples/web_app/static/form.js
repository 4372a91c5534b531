// The form: advice while writing, and a clear word on what became of an order.

// What the service's documentation asks a description for.
const WORDS_MIN = 18;
const CHARACTERS_MIN = 100;

const EXAMPLE = {
  description:
    "A warm, unhurried woman in her sixties with a soft Scottish accent, who sounds " +
    "as if she were reading a bedtime story to a child by the fire.",
  text: "Once upon a time, far beyond the hills, there was a lighthouse that could sing.",
};
const NO_ANSWER = {
  title: "The server did not answer",
  advice:
    "Your order may have arrived all the same. Wait until this page is live again and " +
    "look at the list before you send it once more.",
};

export class OrderForm {
  onOrdered = () => {};

  constructor(form) {
    this.form = form;
    this.button = form.querySelector("[type=submit]");
    this.hint = document.getElementById("description-hint");
    this.problem = document.getElementById("problem");
    this.sent = document.getElementById("sent");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    form.elements.description.addEventListener("input", () => this.advise());
    form.addEventListener("input", (event) => {
      this.mark(event.target.name, "");
      this.sent.textContent = "";
    });
    document.getElementById("example").addEventListener("click", () => this.fill(EXAMPLE));
    this.advise();
  }

  fill({ description, text }) {
    this.form.elements.description.value = description;
    this.form.elements.text.value = text;
    this.clear();
    this.advise();
    this.form.elements.description.focus();
  }

  /** Tell whether the description is as long as the documentation asks for. */
  advise() {
    const value = this.form.elements.description.value.trim();
    const words = value ? value.split(/\s+/).length : 0;
    const enough = words >= WORDS_MIN && value.length >= CHARACTERS_MIN;
    this.hint.dataset.tone = !value ? "" : enough ? "good" : "warn";
    this.hint.textContent = enough
      ? `${words} words, ${value.length} characters: enough to go by.`
      : `At least ${WORDS_MIN} words and ${CHARACTERS_MIN} characters, or the voice may not be made` +
        (value ? ` (so far ${words} and ${value.length}).` : ".");
  }

  async submit() {
    if (this.button.disabled) return;
    this.clear();
    const { description, text } = this.form.elements;
    this.busy(true);
    try {
      const response = await fetch("/voices", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ description: description.value, text: text.value }),
      });
      const answer = await response.json();
      if (response.ok) this.ordered(answer);
      else this.refused(answer);
    } catch {
      this.refused(NO_ANSWER);
    } finally {
      this.busy(false);
    }
  }

  ordered(voice) {
    this.form.reset();
    this.advise();
    this.sent.textContent = "Sent. It is at the top of your list; order another one if you like.";
    this.onOrdered(voice);
  }

  refused({ title, advice, fields = {} }) {
    document.getElementById("problem-title").textContent = title;
    document.getElementById("problem-advice").textContent = advice;
    this.problem.hidden = false;
    for (const [name, message] of Object.entries(fields)) this.mark(name, message);
    this.form.querySelector("[aria-invalid]")?.focus();
  }

  mark(name, message) {
    const field = this.form.elements[name];
    const error = document.getElementById(`${name}-error`);
    error.textContent = message;
    error.hidden = !message;
    if (message) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }

  clear() {
    this.problem.hidden = true;
    this.sent.textContent = "";
    this.mark("description", "");
    this.mark("text", "");
  }

  busy(busy) {
    this.button.disabled = busy;
    this.button.textContent = busy ? "Sending…" : "Make this voice";
    this.form.setAttribute("aria-busy", String(busy));
  }
}
