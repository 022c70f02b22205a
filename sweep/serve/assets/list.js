// The list of the sweeps.
import { count, duration, el, fill, poll, progressBar } from "./draw.js";
import { stateBadge } from "./state.js";

poll("/data/sweeps.json", ({ sweeps }) => {
  fill(document.getElementById("sweeps"), "cards", sweeps.map(({ now, ...rest }) => rest), () =>
    el("ul", { class: "cards" }, sweeps.map((sweep) =>
      el("li", {},
        el("h2", {}, el("a", { href: `/sweeps/${encodeURIComponent(sweep.name)}/` }, sweep.name), " ", stateBadge(sweep.state)),
        el("p", { class: "small" }, `${sweep.study}: ${sweep.question}`),
        sweep.problem ? el("p", { class: "bad" }, sweep.problem) : null,
        el("p", {}, `${sweep.n_ended} of ${count(sweep.n_trials, "trial")} ended`,
          sweep.n_running ? `, ${sweep.n_running} running` : "",
          sweep.left_s === null ? "" : `, at most ${duration(sweep.left_s)} left`,
          sweep.n_failed ? el("span", { class: "bad" }, `, ${sweep.n_failed} failed`) : ""),
        progressBar(sweep.n_ended, sweep.n_running, sweep.n_trials, `${sweep.n_ended} of ${sweep.n_trials} trials ended`),
        el("p", { class: "small" }, sweep.verdict),
        el("p", { class: "small" }, el("code", {}, sweep.place))))));
  document.getElementById("cards").querySelector("ul")?.setAttribute("aria-label", "Sweeps");
  document.getElementById("footer").textContent = `As of ${new Date(sweeps[0].now).toLocaleTimeString("en-GB")}, from the records. The same trials in optuna-dashboard: `;
  document.getElementById("footer").append(el("a", { href: "/dashboard" }, "/dashboard"));
});
