// An edit as one line of JSON on the command line, its end as one line of JSON on stdout.
export const order = JSON.parse(process.argv[2]);

export const tell = (told) => console.log(JSON.stringify(told));

export const fault = (error) => tell({
  name: error.name === "Error" ? error.constructor.name : error.name,
  message: error.message,
  status: error.status ?? error.statusCode ?? error.response?.status ?? null,
  code: error.code ?? null,
  reason: error.reason ?? null,
  last: error.lastError ? { message: error.lastError.message, status: error.lastError.statusCode } : null,
  body: error.response?.data ?? null,
});
