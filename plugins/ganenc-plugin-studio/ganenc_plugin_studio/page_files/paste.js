// A photo that is pasted anywhere but where one writes is opened, as one that is chosen.
document.addEventListener('paste', (event) => {
  const pasted = [...(event.clipboardData?.files || [])].filter((one) => one.type.startsWith('image/'));
  const input = document.querySelector('#photo input[type=file]');
  if (!pasted.length || !input || event.target.closest?.('input, textarea, [contenteditable]')) return;
  const held = new DataTransfer();
  held.items.add(pasted[0]);
  input.files = held.files;
  input.dispatchEvent(new Event('change', { bubbles: true }));
});
