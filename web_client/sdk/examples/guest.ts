/** Returns a guest's token; only `stretto serve --dev` has guests. */
export async function getToken(): Promise<string> {
  const kept = sessionStorage.getItem("token");
  if (kept !== null) return kept;
  const response = await fetch("/dev/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: `guest ${Math.floor(Math.random() * 100)}` }),
  });
  const { token } = (await response.json()) as { token: string };
  sessionStorage.setItem("token", token);
  return token;
}
