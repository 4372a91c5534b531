// Puts the parts together: news comes in, the list and the page's state follow.

import { announce, connectionPill } from "./status.js";
import { follow } from "./stream.js";
import { OrderForm } from "./form.js";
import { VoiceList } from "./voices.js";

const banner = document.getElementById("simulated");
const form = new OrderForm(document.getElementById("order"));
const list = new VoiceList(document.getElementById("voices"), {
  useAgain: (voice) => form.fill(voice),
  onSettled: (voice) => announce(`${voice.title}: ${voice.description.slice(0, 60)}`),
});
form.onOrdered = (voice) => list.show(voice);

follow("/events", {
  hello: ({ simulated }) => {
    banner.hidden = !simulated;
  },
  snapshot: ({ voices }) => list.replace(voices),
  voice: (voice) => list.show(voice),
  likely: (likely) => list.foresee(likely),
  state: connectionPill,
});
