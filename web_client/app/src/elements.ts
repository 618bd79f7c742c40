/** Return the element of the page with this id, which must be there and of this type. */
export function element<T extends HTMLElement = HTMLElement>(id: string, type?: new () => T): T {
  const found = document.getElementById(id);
  if (found === null || (type !== undefined && !(found instanceof type))) {
    throw new Error(`the page has no #${id}`);
  }
  return found as T;
}
