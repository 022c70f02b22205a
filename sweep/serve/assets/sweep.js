// The page of one sweep: each section is built from the document that the server makes of the records.
import { count, curvePlot, decimal, duration, el, errorPlot, fill, percent, points, poll, progressBar, swatch, table, whole } from "./draw.js";
import { stateBadge } from "./state.js";

const name = decodeURIComponent(location.pathname.split("/")[2]);
const sections = document.getElementById("sections");
let last = null;

const heading = (text) => el("h2", { id: anchor(text) }, text);
const anchor = (text) => text.toLowerCase().replaceAll(" ", "-");
const note = (...text) => el("p", { class: "small" }, ...text);
const armHead = (arm, place) => el("span", {}, el("span", { class: "swatch" }, swatch(place)), arm.split(/(?<=[_-])/).map((part) => [part, el("wbr")]));
const interval = (low, high) => (low === null ? "-" : `${(100 * low).toFixed(2)} to ${(100 * high).toFixed(2)}`);

function lowest(rows, columns) {
  for (const [column, value] of columns) {
    const values = rows.map((row) => value(row.facts)).filter((each) => each !== null && each !== undefined);
    if (values.length < 2) continue;
    const least = Math.min(...values);
    for (const row of rows) if (value(row.facts) === least) (row.lowest ??= []).push(column);
  }
}

function showHead(data) {
  document.title = `${data.state}: ${data.name}`;
  fill(document.querySelector("main"), "head", [data.study, data.name, data.question, data.place], () => [
    el("h1", {}, data.name === data.study ? data.study : `${data.study}: ${data.name}`),
    el("p", { class: "question" }, data.question),
  ]);
  fill(sections, "progress", [data.state, data.why_state, data.n_ended, data.n_trials, data.n_running, data.left_s, data.elapsed_s, data.cost, data.driver, data.problem], () => {
    const { cost } = data, failed = data.status.failures.length;
    const facts = [
      ["trials ended", `${whole(data.n_ended)} of ${whole(data.n_trials)}`],
      data.state === "ended" ? null : ["trials running", whole(data.n_running)],
      data.state === "ended" ? null : ["left, at most", data.left_s === null ? (data.state === "running" ? "after the first epoch" : "-") : duration(data.left_s)],
      data.elapsed_s === null ? null : ["since the start of this run", duration(data.elapsed_s)],
      ["training time so far", duration(cost.training_s)],
      data.state === "ended" ? null : ["training time to come, at most", duration(cost.left_training_s)],
      ["trials failed", failed ? el("span", { class: "bad" }, String(failed)) : "0"],
    ];
    return [
      el("p", {}, stateBadge(data.state), " ", data.why_state, data.driver ? el("span", { class: "small" }, ` ${data.driver}`) : ""),
      progressBar(data.n_ended, data.n_running, data.n_trials, `${data.n_ended} of ${data.n_trials} trials ended, ${data.n_running} running`, 1100, 12),
      el("dl", { class: "facts" }, facts.filter(Boolean).map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value)))),
    ];
  });
}

function showVerdict(data) {
  fill(sections, "verdict", data.status.verdict, () =>
    el("div", { class: "verdict" }, el("p", { class: "label" }, "Verdict"), el("p", {}, data.status.verdict)));
}

function showProblems(data) {
  const { status, losses } = data;
  const facts = [data.problem, data.state, data.why_state, data.advice, status.failures, status.left_out_nodes, losses, status.problem, status.gpu_memory, status.dropped_confirmations, status.resume_command];
  fill(sections, "problems", facts, () => {
    const lines = [];
    if (data.problem) lines.push(["The records cannot be read at present: ", data.problem]);
    if (data.state === "stalled") lines.push([`Stalled: ${data.why_state}. `, data.advice]);
    if (data.state === "paused") lines.push([`Paused ${data.why_state}. Resume with: `, el("code", {}, data.commands.resume)]);
    if (status.resume_command) lines.push([`Interrupted with ${count(data.n_trials - data.n_ended, "trial")} left. Resume with: `, el("code", {}, status.resume_command)]);
    if (status.problem) lines.push([status.problem]);
    for (const node of status.left_out_nodes) lines.push([`Node ${node.node} gets no trials: ${node.why}`]);
    if (status.failures.length) {
      const kinds = {};
      for (const each of status.failures) kinds[each.why] = [...(kinds[each.why] ?? []), each.trial];
      const reasons = Object.entries(kinds).sort(([, one], [, other]) => other.length - one.length);
      for (const [why, trials] of reasons.slice(0, 4)) {
        const named = trials.slice(0, 3).join(", ") + (trials.length > 3 ? ` and ${trials.length - 3} more` : "");
        lines.push([`${count(trials.length, "trial")} failed (${named}): `, lastLine(why)]);
      }
      if (reasons.length > 4) lines.push([`${reasons.length - 4} other reasons: see `, el("a", { href: "#failures" }, "all failures")]);
    }
    const lost = Object.entries({ lost_nodes: "lost node", preemptions: "preemption", crashes: "crash", out_of_memory: "lack of memory", neighbour_faults: "error of another trial on the same GPU" }).filter(([key]) => losses[key]).map(([key, cause]) => `${cause} (${losses[key]})`);
    if (lost.length) lines.push([`Workers lost, by cause: ${lost.join(", ")}. Their trials continue from their last state.`]);
    else if (losses.restarted) lines.push([`${count(losses.restarted, "trial")} resumed or started again after an interruption or a lost worker.`]);
    if (status.gpu_memory) lines.push([status.gpu_memory]);
    for (const [arm, number] of Object.entries(status.dropped_confirmations)) lines.push([`${arm}: ${count(number, "confirmation trial")} left out, because too few search trials completed.`]);
    if (!lines.length) return null;
    return el("div", { class: "notice" }, el("p", { class: "label" }, "Needs attention"), el("ul", {}, lines.map((line) => el("li", {}, ...line))));
  });
}

function lastLine(why) {
  const lines = (why ?? "no reason given").trim().split("\n");
  const frame = lines.findLastIndex((line) => line.startsWith('  File "'));
  return (frame < 0 ? lines : lines.slice(frame + 1).filter((line) => !line.startsWith(" "))).join(" ").slice(0, 300) || lines.at(-1);
}

function showArms(data) {
  const { status } = data;
  const arms = data.arms.map((each) => each.arm);
  fill(sections, "arms", [status.arms, status.confirmed, status.baseline, data.arms.map((each) => each.curves.filter((curve) => curve.status === "completed")), document.documentElement.clientWidth < 700], () => {
    const confirmed = new Map(status.confirmed.filter((row) => row.rank === 1).map((row) => [row.arm, row]));
    const isComparable = arms.every((arm) => confirmed.get(arm)?.n > 1); // one value per arm compares nothing
    const searched = new Map(status.arms.map((row) => [row.arm, row]));
    const shown = ["running", "paused", "completed", "stopped", "diverged", "failed", "cancelled"].filter((kind) => kind === "completed" || status.arms.some((row) => row.n_by_status[kind]));
    const heads = [["arm", ""]];
    if (confirmed.size) heads.push(["test error", "number"], ["95 % interval", "number"], [`minus ${status.baseline} (points)`, "number"], ["n", "number"]);
    heads.push(["best error", "number"], ["median", "number"], ...shown.map((kind) => [kind === "paused" ? "waiting" : kind, "number"]), ["best trial", ""]);
    const rows = arms.map((arm, place) => {
      const found = searched.get(arm), test = confirmed.get(arm);
      const row = [armHead(arm, place)];
      if (confirmed.size) {
        const difference = !test || test.difference === null ? "-" : points(test.difference) + (test.difference_low === null ? "" : ` (${points(test.difference_low)}, ${points(test.difference_high)})`);
        row.push(percent(test?.top1_error), test ? interval(test.n > 1 ? test.low : null, test.high) : "-", arm === status.baseline ? "baseline" : difference, test?.n ?? "-");
      }
      row.push(percent(found?.best_val_top1_error), percent(found?.median_val_top1_error), ...shown.map((kind) => found?.n_by_status[kind] ?? 0), found?.best_trial ?? "-");
      row.facts = { best: found?.best_val_top1_error, median: found?.median_val_top1_error, test: test?.top1_error };
      return row;
    });
    const place = heads.findIndex(([head]) => head === "best error");
    lowest(rows, [[1, (facts) => (isComparable ? facts.test : null)], [place, (facts) => facts.best], [place + 1, (facts) => facts.median]]);
    const scaled = (value) => (value === null || value === undefined ? null : 100 * value);
    const plotted = data.arms.map((each) => {
      const found = searched.get(each.arm), test = confirmed.get(each.arm);
      return {
        arm: each.arm,
        errors: each.curves.filter((curve) => curve.status === "completed").map((curve) => 100 * curve.errors.at(-1)[1]),
        best: scaled(found?.best_val_top1_error), median: scaled(found?.median_val_top1_error),
        mean: scaled(test?.top1_error), low: test?.n > 1 ? scaled(test.low) : null, high: test?.n > 1 ? scaled(test.high) : null,
      };
    });
    const plot = errorPlot(plotted, document.documentElement.clientWidth < 700 ? 360 : 900);
    return [
      heading("Arms"),
      table(confirmed.size ? "Test error of the winners on fresh seeds; best and median validation error of completed search trials" : "Validation top-1 error of completed search trials", heads, rows),
      plot ? el("figure", {}, plot, el("figcaption", {}, "Dots: completed search trials (at most 40 per arm); ring: the best of them; bar: their median (validation error). ", confirmed.size ? "Diamond with line: test error of the winners on fresh seeds with its 95 % interval." : "Test errors follow when winners are confirmed.")) : null,
      note("The best of many trials is too optimistic: compare arms by the test error on fresh seeds."),
    ];
  });
}

function showRunning(data) {
  fill(sections, "running", [data.running, data.state], () => {
    if (!data.running.length) return null;
    const searches = data.status.n_searches > 1;
    const heads = [["trial", ""], ["epoch", "number"], ["progress", ""], ["error", "number"], ["images/s", "number"], ["node", ""], ["phase", ""]];
    const rows = data.running.map((each) => [each.trial, `${each.epoch} of ${each.planned_epochs}`, progressBar(each.epoch, 0, each.planned_epochs, `${each.epoch} of ${each.planned_epochs} epochs`, 90, 9), percent(each.val_top1_error), whole(each.images_per_s), each.node ?? "-", each.phase === "confirm" ? "confirmation" : searches ? `search ${each.search}` : "search"]);
    return [heading("Running trials"), table(`${count(rows.length, "trial")}, in the order of their start`, heads, rows)];
  });
}

function showCurves(data) {
  fill(sections, "curves", data.arms.map(({ arm, curves, n_curves }) => [arm, curves, n_curves]), () => {
    const values = data.arms.flatMap((each) => each.curves.flatMap((curve) => curve.errors));
    if (!values.length) return null;
    const errors = values.map(([, error]) => 100 * error).sort((one, other) => one - other);
    const scale = { epochs: Math.max(...values.map(([epoch]) => epoch), 2), low: Math.max(0, errors[0] - 1), high: Math.min(100, errors.at(-1) + 1) };
    return [
      heading("Curves"),
      note("Validation top-1 error (%) by epoch; all panels have the same scale. Thick with a dot: running. Thin: completed. Pale: stopped early. Red, dashed, with a cross: failed or diverged."),
      el("div", { class: "panels" }, data.arms.map(({ arm, curves, n_curves }, place) => el("figure", {},
        el("h3", {}, armHead(arm, place)),
        curves.length ? curvePlot(arm, curves, place, scale) : note("No epoch yet."),
        n_curves > curves.length ? el("figcaption", {}, `${curves.length} of ${whole(n_curves)} curves: all running ones, the best and the latest`) : null))),
    ];
  });
}

function showRungs(data) {
  fill(sections, "rungs", data.arms.map(({ arm, rungs }) => [arm, rungs]), () => {
    const epochs = [...new Set(data.arms.flatMap((each) => each.rungs.map((rung) => rung.epochs)))].sort((one, other) => one - other);
    if (!epochs.length) return null;
    const rows = data.arms.map((each, place) => [armHead(each.arm, place), ...epochs.map((epoch) => {
      const rung = each.rungs.find((one) => one.epochs === epoch);
      if (!rung) return "-";
      const ends = ["stop", "pause", "spared"].filter((kind) => rung[kind]).map((kind) => `${rung[kind]} ${{ stop: "stopped", pause: "paused", spared: "spared" }[kind]}`);
      return el("span", {}, `${rung.n} reached${ends.length ? `, ${ends.join(", ")}` : ""}`, el("br"), el("span", { class: "small" }, rung.cutoff === null ? "no cutoff yet" : `cutoff ${decimal(rung.cutoff)}`));
    })]);
    return [heading("Early stopping"), table(`Decisions at each rung; the cutoff is the last one of ${data.metric}`, [["arm", ""], ...epochs.map((epoch) => [`after epoch ${epoch}`, ""])], rows), note("Spared: a control trial that the rule would have stopped.")];
  });
}

function showConfirmation(data) {
  const { status } = data;
  fill(sections, "confirmation", [status.confirmed, status.winners, status.n_searches, status.baseline], () => {
    if (!status.winners.length) return null;
    const place = (arm) => data.arms.findIndex((each) => each.arm === arm);
    const several = status.n_searches > 1;
    const searches = [...Array(status.n_searches).keys()];
    const winners = status.winners.filter((row) => row.rank === 1);
    const measured = data.arms.map((each) => each.arm).filter((arm) => winners.some((row) => row.arm === arm));
    const bySearch = !several ? null : table("Test error of the winner of each search (validation error of the same configuration in the search)",
      [["arm", ""], ...searches.map((search) => [`search ${search}`, "number"])],
      measured.map((arm) => [armHead(arm, place(arm)), ...searches.map((search) => {
        const row = winners.find((each) => each.arm === arm && each.search === search);
        return row ? el("span", { title: `${row.winner}, ${count(row.n_seeds, "seed")}` }, percent(row.top1_error), el("br"), el("span", { class: "small" }, `(${percent(row.val_top1_error)})`)) : "-";
      })]));
    const rows = status.winners.map((row) => [row.winner, row.rank === 1 ? "winner" : `former winner, now rank ${row.rank}`, row.search, percent(row.val_top1_error), percent(row.top1_error), row.n_seeds, decimal(row.nll), percent(row.ece)]);
    const all = table("Trials that won, trained again on fresh seeds", [["trial", ""], ["rank", "name"], ["search", "number"], ["validation error in the search", "number"], ["test error", "number"], ["seeds", "number"], ["NLL", "number"], ["ECE", "number"]], rows);
    const unit = several ? "n counts independent searches." : "n counts fresh seeds of one configuration.";
    return [
      heading("Confirmation"),
      note(`${unit} Differences from ${status.baseline} are paired; their intervals hold for all comparisons together.`),
      bySearch,
      several ? el("details", {}, el("summary", {}, `All ${count(rows.length, "winner")}`), all) : all,
    ];
  });
}

function showDose(data) {
  fill(sections, "dose", data.arms.map(({ arm, dose }) => [arm, dose]), () => {
    const rows = data.arms.filter(({ dose }) => dose.exposure !== null).map(({ arm, dose }) => [armHead(arm, data.arms.findIndex((each) => each.arm === arm)), decimal(dose.exposure), percent(dose.pasted_frac), percent(dose.mean_prob), decimal(dose.label_entropy)]);
    return rows.length ? [heading("Dose"), table("How strongly each arm mixes, mean over its search trials", [["arm", ""], ["exposure", "number"], ["pasted pixels", "number"], ["mixed samples", "number"], ["label entropy (nats)", "number"]], rows)] : null;
  });
}

function showNodes(data) {
  fill(sections, "nodes", [data.nodes, data.state], () => {
    const rows = data.nodes.map((node) => [node.node, node.running, node.ended, node.failed, node.left_out ? el("span", { class: "bad" }, `gets no trials: ${node.left_out}`) : data.driver ? "in use" : "-"]);
    return rows.length ? [heading("Nodes"), table("Trials per node", [["node", ""], ["running", "number"], ["ended", "number"], ["failed", "number"], ["state", "why"]], rows)] : null;
  });
}

function showEvents(data) {
  fill(sections, "events", data.events, () => {
    const rows = data.events.map((each) => [each.trial, new Date(1000 * each.time_s).toLocaleString("en-GB"), each.status === "failed" || each.status === "diverged" ? el("span", { class: "bad" }, each.status) : each.phase === "confirm" ? `${each.status} (confirmation)` : each.status, `${each.epochs} of ${each.planned_epochs}`, percent(each.val_top1_error), each.node ?? "-", each.why]);
    return rows.length ? [heading("Trials that ended last"), table("The latest first", [["trial", ""], ["ended", "name"], ["status", "name"], ["epochs", "number"], ["validation error", "number"], ["node", "name"], ["reason", "why"]], rows)] : null;
  });
}

function showFailures(data) {
  const { failures } = data.status;
  fill(sections, "failure-list", failures, () => {
    const rows = failures.slice(0, 200).map((each) => [each.trial, each.status, each.fault ?? "-", lastLine(each.why)]);
    return rows.length ? [heading("Failures"), table(failures.length > 200 ? `200 of ${failures.length} trials that failed, and confirmation trials that diverged` : "Trials that failed, and confirmation trials that diverged", [["trial", ""], ["status", ""], ["kind", ""], ["reason", "why"]], rows), note("Log of a trial: ", el("code", {}, `${data.commands.logs} ${failures[0].trial}`))] : null;
  });
}

function showContents() {
  const headings = [...document.querySelectorAll("section:not([hidden]) > h2")];
  fill(document.querySelector("nav"), "contents", headings.map((each) => each.textContent), () =>
    el("ul", {}, headings.map((each) => el("li", {}, el("a", { href: `#${each.id}` }, each.textContent)))));
}

function showFurther(data) {
  const { report, cost, status } = data;
  fill(sections, "further", [report.url, report.is_old, cost.devices, cost.n_epochs, cost.epochs_left, cost.requests, data.commands], () => [
    heading("Cost"),
    el("ul", {},
      el("li", {}, `${(cost.training_s / 3600).toFixed(2)} hours of training in ${whole(cost.n_epochs)} epochs`, cost.epochs_left ? `; at most ${((cost.left_training_s ?? 0) / 3600).toFixed(2)} hours and ${whole(cost.epochs_left)} epochs to come, if no further trial stops early` : "", "."),
      Object.keys(cost.devices).length ? el("li", {}, "Devices: ", Object.entries(cost.devices).map(([device, number]) => `${device} (${count(number, "trial")})`).join(", "), ".") : null,
      cost.requests === null ? null : el("li", {}, `${whole(cost.requests)} requests to the object store by this page since it was opened.`)),
    heading("More"),
    el("ul", {},
      el("li", {}, report.url ? el("a", { href: report.url }, "Report") : "No report yet", report.url && !report.is_old ? "" : report.url ? ": older than the newest records; write it again with: " : ": write it with: ", report.url && !report.is_old ? "" : el("code", {}, report.command)),
      el("li", {}, "Trials in optuna-dashboard: ", data.arms.map((each, place) => [place ? ", " : "", el("a", { href: each.optuna }, each.arm)])),
      el("li", {}, "In a terminal: ", el("code", {}, data.commands.status), "; why a trial ended: ", el("code", {}, `${data.commands.why} TRIAL`)),
      el("li", {}, Object.entries(status.versions).map(([program, version]) => `${program} ${version}`).join(", "))),
  ]);
}

function show(data) {
  last = data;
  for (const part of [showHead, showVerdict, showProblems, showArms, showRunning, showCurves, showRungs, showConfirmation, showDose, showNodes, showEvents, showFailures, showFurther, showContents]) part(data);
  const behind = data.status_age_s > 5 ? ` Results are ${duration(data.status_age_s)} old.` : "";
  document.getElementById("footer").textContent = `As of ${new Date(data.now).toLocaleTimeString("en-GB")}, from the records of ${data.place}.${behind}`;
}

addEventListener("resize", () => last && show(last));
poll(`/data/${encodeURIComponent(name)}.json`, show);
