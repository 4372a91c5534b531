// One stream of server-sent events, kept alive.
//
// The browser reconnects by itself after most faults and then tells what it saw
// last. Three cases are left to do here: an answer that is an error makes it give
// up; a connection that died without a word must be noticed; and browsers allow
// about six connections to a server, so a page that nobody looks at lets go of its
// own unless it is the only one (one hidden page goes on, for its title).

const PATIENCE = 3; // heartbeats that may be missed
const RETRY_FIRST = 1000; // milliseconds
const RETRY_MAX = 15000;

export function follow(url, on) {
  let source = null;
  let lastId = "";
  let heartbeat = 10;
  let retry = RETRY_FIRST;
  let retryTimer = 0;
  let patienceTimer = 0;
  let everLive = false;
  let giveUpLock = null;

  function open() {
    close();
    const query = lastId ? `?last_event_id=${encodeURIComponent(lastId)}` : "";
    source = new EventSource(url + query);
    source.onerror = () => lost();
    listen("hello", (message) => {
      heartbeat = message.heartbeat;
      on.hello(message);
    });
    listen("snapshot", on.snapshot);
    listen("voice", on.voice);
    listen("likely", on.likely);
    source.addEventListener("beat", alive);
  }

  function listen(name, handle) {
    source.addEventListener(name, (event) => {
      lastId = event.lastEventId || lastId;
      handle(JSON.parse(event.data));
      // Last, since it is by now that the first event has told how long to be patient.
      alive();
    });
  }

  function alive() {
    everLive = true;
    retry = RETRY_FIRST;
    on.state("live");
    clearTimeout(patienceTimer);
    patienceTimer = setTimeout(reopen, PATIENCE * heartbeat * 1000);
  }

  function lost() {
    clearTimeout(patienceTimer);
    on.state(everLive ? "reconnecting" : "unreachable");
    if (source.readyState === EventSource.CLOSED) reopenLater();
  }

  function reopen() {
    on.state("reconnecting");
    open();
  }

  function reopenLater() {
    clearTimeout(retryTimer);
    retryTimer = setTimeout(open, retry * (0.75 + Math.random() / 2));
    retry = Math.min(RETRY_MAX, retry * 2);
  }

  function close() {
    clearTimeout(patienceTimer);
    clearTimeout(retryTimer);
    source?.close();
    source = null;
  }

  function shown() {
    giveUpLock?.();
    giveUpLock = null;
    if (source === null) {
      on.state("connecting");
      open();
    }
  }

  async function hidden() {
    if (!navigator.locks) return close();
    await navigator.locks.request("hidden-stream", { ifAvailable: true }, (lock) => {
      if (!document.hidden) return undefined;
      if (lock === null) return close();
      return new Promise((resolve) => (giveUpLock = resolve));
    });
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? hidden() : shown()));
  window.addEventListener("online", () => source && reopen());
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && shown());
  open();
}
