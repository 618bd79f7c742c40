/** Questions to the user. */
import { element } from "./elements";

/** Ask for a name; resolves with what was entered, or `suggestion` when it was dismissed. */
export async function askName(suggestion: string): Promise<string> {
  return (await ask("name", suggestion)) || suggestion;
}

/** Ask for a token, saying why, until there is one or `signal` says that it is not needed. */
export async function askToken(reason: string, signal: AbortSignal): Promise<string> {
  element("token-reason").textContent = reason;
  const dialog = element("token-dialog", HTMLDialogElement);
  signal.addEventListener("abort", () => dialog.close());
  for (;;) {
    const token = await ask("token", "");
    if (token !== "" || signal.aborted) return token;
  }
}

function ask(kind: "name" | "token", value: string): Promise<string> {
  const dialog = element(`${kind}-dialog`, HTMLDialogElement);
  const input = element(kind, HTMLInputElement);
  input.value = value;
  dialog.returnValue = "";
  dialog.showModal();
  input.select();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => resolve(dialog.returnValue === "ok" ? input.value.trim() : ""),
      { once: true },
    );
  });
}
