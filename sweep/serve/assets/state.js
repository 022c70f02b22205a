// The state of a sweep as a word with a sign: the colour is not needed.
import { el } from "./draw.js";

const SIGNS = { running: "▶", ended: "✓", interrupted: "■", paused: "‖", stalled: "!" };

export const stateBadge = (state) => el("span", { class: `state ${state}` }, `${SIGNS[state] ?? ""} ${state}`);
