// What the page says about itself.

const WORDS = {
  connecting: "Connecting…",
  live: "Live",
  reconnecting: "Reconnecting… what you see may be out of date",
  unreachable: "No connection yet. Trying again…",
};

const pill = document.getElementById("connection");
const announcer = document.getElementById("announcer");
const noticeBox = document.getElementById("notice");

export function connectionPill(state) {
  if (pill.dataset.state === state) return;
  pill.dataset.state = state;
  pill.textContent = WORDS[state];
}

/** Say something to those who listen to the page instead of looking at it. */
export function announce(text) {
  announcer.textContent = text;
}

export function notice(text) {
  noticeBox.textContent = text;
  noticeBox.hidden = false;
}
