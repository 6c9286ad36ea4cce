/** What the pages and the driver leave for one another. */
interface Window {
  /** Left by first.js. */
  firstAnswer?: import('./first.js').FirstAnswer;
  /** Left by the driver: tells how far it is. */
  say(text: string): void;
}
