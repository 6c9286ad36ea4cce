/** The set that models are evaluated on, served beside the page. */

/** Where `cargo xtask build-web` puts it. */
const SET = 'data/adversarial.jsonl';

/** @typedef {{ text: string, intent: string }} Labelled */

/** @returns {Promise<Labelled[]>} */
export async function loadSet() {
  const response = await fetch(SET);
  if (!response.ok) throw new Error(`${SET} is not there (HTTP ${response.status}): \`cargo xtask build-web\` puts it there`);
  const lines = (await response.text()).split('\n').filter((line) => line !== '');
  return lines.map((line, index) => {
    /** @type {{ text?: unknown, intent?: unknown }} */
    const { text, intent } = JSON.parse(line);
    if (typeof text !== 'string' || typeof intent !== 'string') throw new Error(`${SET}, line ${index + 1}: text and intent are no strings`);
    return { text, intent };
  });
}
