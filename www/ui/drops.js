/** Files dropped anywhere on the page. */

/** Ends of names that mean rows rather than a model. */
const ROWS = /\.(csv|tsv|txt|jsonl|ndjson)$/i;

/**
 * @param {{ onModel: (file: File) => void, onRows: (file: File) => void }} takers
 */
export function acceptDrops({ onModel, onRows }) {
  const root = document.documentElement;
  const isFile = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes('Files') ?? false;
  root.addEventListener('dragover', (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    root.classList.add('dragging');
  });
  root.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) root.classList.remove('dragging');
  });
  root.addEventListener('drop', (event) => {
    root.classList.remove('dragging');
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    event.preventDefault();
    if (ROWS.test(file.name)) onRows(file);
    else onModel(file);
  });
}
