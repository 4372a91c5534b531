// Puts the parts together: news comes in, the list and the page's state follow.

import { announce, connectionPill, notice } from "./status.js";
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

let life = null; // which life of the server the list is from

follow("/events", {
  hello: ({ simulated }) => {
    banner.hidden = !simulated;
  },
  snapshot: (snapshot) => {
    const restarted = life !== null && life !== snapshot.life;
    life = snapshot.life;
    const lost = list.replace(snapshot.voices, restarted);
    if (restarted && lost > 0) {
      notice(
        `The server was restarted. It keeps its list in memory only, so ${lost} earlier ` +
          `${lost === 1 ? "voice is" : "voices are"} no longer shown here. ` +
          `Look in the Camb.ai studio for ${lost === 1 ? "it" : "them"}.`,
      );
    }
  },
  voice: (voice) => list.show(voice),
  likely: (likely) => list.foresee(likely),
  state: connectionPill,
});
